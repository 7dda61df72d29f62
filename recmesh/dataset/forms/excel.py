"""Read .xlsx files, with the extra `excel`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from recmesh.dataset.forms.batch import Advance, Batch, Part, Wanted, frame_batch, missing_column
from recmesh.errors import DataError, SettingsError


def excel_parts(path: Path, wanted: Sequence[Wanted], keys: Mapping[str, str], advance: Advance) -> Iterator[Part]:
    """Read the wanted columns of the sheet of an .xlsx file.

    Of several sheets with content, it is the one that is named like the file (without -2 and the like).

    Raises:
        DataError: A wanted column is missing, the file is damaged, or it is not clear which sheet is meant.
        SettingsError: The extra is not installed.
    """
    frame = sheet_of(path)
    for want in wanted:
        if want.column not in frame.columns and want.column not in keys:
            raise missing_column(path, want, frame.columns)
    columns = [name for name in dict.fromkeys(want.column for want in wanted) if name in frame.columns]
    filled = frame.select(~pl.all_horizontal(pl.all().is_null() | (pl.all() == ""))).to_series()
    rows = frame_batch(frame.filter(filled), columns, 2)
    yield Batch(rows.frame, 2 + np.flatnonzero(filled), rows.text)
    advance(path.stat().st_size)


def sheet_of(path: Path) -> pl.DataFrame:
    """Return the sheet with the rows.

    Raises:
        DataError: The file is damaged, or it is not clear which sheet is meant.
        SettingsError: The extra is not installed.
    """
    try:
        sheets = pl.read_excel(path, sheet_id=0, infer_schema_length=0, raise_if_empty=False, drop_empty_rows=False)
    except ModuleNotFoundError as error:
        raise SettingsError(f"{path}: reading .xlsx needs the extra: pip install 'recmesh[excel]'") from error
    except Exception as error:  # the extra brings the error classes
        raise DataError(f"{path}: cannot be read as .xlsx ({' '.join(str(error).split())})") from error
    filled = {name: frame for name, frame in sheets.items() if frame.width and frame.height}
    stem = re.sub(r"-[^.]*$", "", path.stem).casefold()
    named = {name: frame for name, frame in filled.items() if name.casefold() in (stem, path.stem.casefold())}
    chosen = named or filled
    if len(chosen) != 1:
        names = ", ".join(sheets)
        raise DataError(f'{path}: has the sheets {names}; name the one with the rows "{stem}"')
    return next(iter(chosen.values()))

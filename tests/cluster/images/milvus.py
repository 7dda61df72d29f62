"""`python milvus.py DATA INTO`: copy the Milvus of the wheel (milvus/data) to the file layout of the public image."""

import lzma
import re
import shutil
import sys
from pathlib import Path

data, into = map(Path, sys.argv[1:])
for folder in ("bin", "lib", "configs"):
    (into / folder).mkdir(parents=True)
for packed in (data / "bin").glob("*.lzma"):
    target = into / ("bin" if packed.stem == "milvus" else "lib") / packed.stem
    with lzma.open(packed) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    target.chmod(0o755)
# Every placeholder has its default: {{ name(type): default }}. What has none, the chart sets by variables.
template = (data / "config.yaml.template").read_text()
(into / "configs" / "milvus.yaml").write_text(
    re.sub(r"\{\{\s*\w+(?:\(\w+\))?\s*(?::\s*(.*?))?\s*\}\}", r"\1", template)
)
shutil.copy(data / "glog.conf", into / "configs")

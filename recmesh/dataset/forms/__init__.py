"""The forms of files: find the files of a kind (`files`), and read any of them as batches of columns (`tables`)."""

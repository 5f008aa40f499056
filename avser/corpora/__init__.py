"""What a folder holds of a corpus, what it lacks, and RAVDESS unpacked; the readers are in `avser.datasets`."""

"""Speech emotion corpora: file names (`names`), label maps (`labels`), scanning and CSV (`manifest`)."""

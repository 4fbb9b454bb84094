"""Measuring models on this machine: what a step costs, where its time goes, and how long a start takes."""

"""What a run leaves on disk: its folder, records, facts and provenance."""

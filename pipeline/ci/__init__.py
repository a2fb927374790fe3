"""What a CI system reads: JUnit's XML, GitHub's annotations and step summary."""

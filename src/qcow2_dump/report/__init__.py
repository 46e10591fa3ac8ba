"""How a run is shown: text for people, JSON for programs, progress for the impatient."""

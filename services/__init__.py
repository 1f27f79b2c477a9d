"""Use cases: what happens because someone asked, one transaction each."""

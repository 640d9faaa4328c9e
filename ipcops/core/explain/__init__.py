"""Why a call fails on this host now: which limit is reached, by how much, who uses it, and the way out."""

"""The miniature world in which the doctor can be tried: a Hub on loopback."""

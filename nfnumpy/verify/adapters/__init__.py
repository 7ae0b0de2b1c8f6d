"""How targets are asked: a file for each kind turns whatever a framework offers into a function of a Problem."""

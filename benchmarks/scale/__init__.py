"""How far it goes, computed: a model with what `make bench` measured, a simulation of a day, and the page that says both (docs/scale.md)."""

"""`looseleaf ready`: the ML Test Score of a rendered repository (Breck et al. 2017), computed from what it recorded."""

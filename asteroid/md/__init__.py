"""The border to ASE: a calculator, molecular dynamics of many replicas at once, and how long they stay whole."""

"""Selection in bulk: the rules of both back-ends, applied to networks of up to 10^7 nodes.

No machine runs here. A network is two arrays (`ring`), a selection a row of numbers (`draws`), and
everything is asked of many at once.

- `sizing` has the sizes of regions, `draws` the selections by census and by region.
- `effectiveness`, `regions`, `forgery`, `costs` and `caches` are experiments (see
  `simulator.experiment`).
"""

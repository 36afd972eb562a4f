"""Feature queries: one SELECT of a study over an owner's collection, checked, then confined.

    grammar    received text -> syntax tree, with every size bounded before anything is parsed
    functions  the functions that a query may call
    literals, expressions
               parts of a query that are checked and written alone
    compile    syntax tree -> `FeatureQuery`: SQL written anew from a positive list
    frames     what the parent and the child tell each other
    process    the parent's end of a child process that runs one query
    child      the child: DuckDB over a copy of the consented columns, and nothing else

Two layers, each meant to hold without the other. Text that is not in the small language of
`compile` runs nowhere; and the child, were it given any SQL at all, reads no file, reaches no
network, and is bounded in memory, time, and size of the result.

Nothing is imported here: the child loads this package and must start quickly.
"""

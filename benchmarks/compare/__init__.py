"""The parts of ``benchmarks/compare_agents.py``: algorithms and what they are compared by.

``config`` says what is compared, ``algorithms`` who plays, ``arena`` on what and how it is measured, ``cells`` plays
one run, ``execution`` all of them, ``aggregate`` makes numbers of the runs, ``report`` tables and ``figures`` pictures.
"""

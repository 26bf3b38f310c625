"""Where to take hints from a teacher: its blocks clustered by what they compute, and the centre of each cluster.

PURSUhInT: Unal Keser et al. 2023, "PURSUhInT: in search of informative hint points based on layer clustering for
knowledge distillation".
"""

"""One metaprompt of several sites that share no text: each trains beside its own notes, and the shared prompt alone travels.

Federated averaging (McMahan et al. 2017, arXiv 1602.05629) of P*, by Flower: `federation` and `agreement` say what sites have
in common, `site` is one site's part, `travelling` what messages hold, `leaving` what stops all else; the two apps are what
Flower starts.
"""

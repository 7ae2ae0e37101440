#!/usr/bin/env python3
"""Fits the 16 levels of the nl4 formats and prints them.

Groups of 64 weights are drawn from a normal distribution (three of four) or a Laplace distribution
(one of four). Two steps alternate, as in Lloyd's algorithm: every group takes the scale, of either
sign, with the least squared error on the present levels; then every level moves to the
least-squares value of the weights that round to it. The levels are scaled so that the outermost is
127 in magnitude and rounded to integers. Needs numpy; nothing at run time needs this script.

    python3 Scripts/fit_nonlinear_table.py
"""

import numpy

GROUP, GROUPS, ROUNDS, SEED = 64, 6000, 40, 20261121
RATIOS = numpy.linspace(0.7, 1.1, 21)


def nearest(levels, values):
    """Index of the nearest level of every value."""
    return numpy.searchsorted((levels[1:] + levels[:-1]) / 2, values)


def best_scales(levels, weights):
    """The scale, of either sign, that gives every group the least squared error."""
    extreme = weights[numpy.arange(len(weights)), numpy.abs(weights).argmax(axis=1)]
    best = numpy.full(len(weights), numpy.inf)
    scales = numpy.zeros(len(weights))
    for end in (levels[0], levels[-1]):
        for ratio in RATIOS:
            trial = extreme / end * ratio
            codes = nearest(levels, weights / trial[:, None])
            chosen = levels[codes]
            # The scale that suits these codes best.
            refit = (weights * chosen).sum(axis=1) / (chosen * chosen).sum(axis=1)
            for scale in (trial, refit):
                rounded = levels[nearest(levels, weights / scale[:, None])]
                error = ((weights - scale[:, None] * rounded) ** 2).sum(axis=1)
                better = error < best
                best[better], scales[better] = error[better], scale[better]
    return scales, best.sum() / (weights**2).sum()


def main():
    generator = numpy.random.default_rng(SEED)
    weights = generator.normal(size=(GROUPS, GROUP))
    laplace = generator.laplace(scale=numpy.sqrt(0.5), size=(GROUPS // 4, GROUP))
    weights[: GROUPS // 4] = laplace
    levels = 127 * numpy.sign(numpy.linspace(-1, 1, 16)) * numpy.abs(numpy.linspace(-1, 1, 16)) ** 1.3
    # A little asymmetry to start from: the fit decides what becomes of it.
    levels[8:] *= 0.9
    for _ in range(ROUNDS):
        scales, error = best_scales(levels, weights)
        codes = nearest(levels, weights / scales[:, None])
        squares = numpy.broadcast_to((scales**2)[:, None], weights.shape)
        for code in range(16):
            mask = codes == code
            if mask.any():
                levels[code] = (weights * scales[:, None])[mask].sum() / squares[mask].sum()
        levels *= 127 / numpy.abs(levels).max()
    rounded = numpy.round(levels)
    scales, error = best_scales(rounded, weights)
    uniform = numpy.arange(-8, 8) * 127.0 / 8
    print("levels:", ", ".join(str(int(level)) for level in rounded))
    print(f"relative squared error {error:.5f}; of 16 even steps {best_scales(uniform, weights)[1]:.5f}")


if __name__ == "__main__":
    main()

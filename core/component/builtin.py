"""The components that irer brings with it, described as every other: by a manifest. The work itself is done in a worker."""

from core.component.manifest import SUBJECT, Limits, Manifest, Port, Variable, check

BSSN_CHECK = "bssn-check"
NULL_PROFILE = "null-profile"
TDA_PROFILE = "tda-profile"

_OF = Port(SUBJECT, "string:uuid", "The run whose fields are looked at")

BUILTIN: dict[str, Manifest] = {
    manifest.name: manifest
    for manifest in (
        Manifest(
            name=BSSN_CHECK,
            version="1.0.0",
            description="How far the geometry of a run is from what general relativity would ask of it",
            builtin="bssn_check",
            inputs=[_OF],
            outputs=[
                Port("code", "string", "ok, or why there are no numbers: diverged, flat, not_finite or one_dimension"),
                Port(
                    "h_classical",
                    "float",
                    "What is left of the Hamiltonian constraint, of the norms of its terms: 0 to 1",
                ),
                Port("newton", "float", "The G, from 0 on, that leaves the least rest"),
                Port("curvature", "float", "Norm of the curvature R"),
                Port("expansion", "float", "Norm of d(d-1) times the square of the rate of ln Omega"),
                Port("matter", "float", "Norm of 2 G T00"),
            ],
            trigger="job",
        ),
        Manifest(
            name=NULL_PROFILE,
            version="1.0.0",
            description="What a run's score is worth beside scrambled phases, random targets, other integers and smooth ramps",
            builtin="null_profile",
            inputs=[_OF],
            outputs=[
                Port("code", "string", "ok, or why there is no score: no_peaks, diverged or missing"),
                Port("log_prime_sse", "float", "The score of the run with this many targets"),
                Port("n_peaks", "int", "Peaks that the spectrum has"),
                Port("draws", "int", "Draws of each null"),
                Port("draws_scored", "int", "Fields of scrambled phases that had peaks to score"),
                Port("rank_phase", "int", "Fields of scrambled phases that score at least as well"),
                Port("rank_target", "int", "Fields of scrambled phases that rank at least as well among random targets"),
                Port("p_phase", "float", "The p-value of rank_phase; none below 999 draws"),
                Port("p_target", "float", "The p-value of rank_target; none below 999 draws"),
                Port("gap_phase", "float", "Median score of fields of scrambled phases, less the score"),
                Port("gap_target", "float", "Median score for random targets, less the score"),
                Port("integers_beaten_by", "string", "Named integer sequences that fit at least as well as the primes"),
                Port("integers_rank", "int", "Random sequences as dense as the primes that do, of 199"),
                Port("ramp_gain", "float", "ln(RSS of the best smooth ramp / RSS of the primes)"),
            ],
            tunable_variables=[
                Variable("draws", "Draws of each null", "int", 99, 19, 9_999),
                Variable("targets", "How many primes to aim at", "int", 5, 5, 10),
            ],
            trigger="job",
            limits=Limits(wall_s=600.0, cpu_s=600.0),
        ),
        Manifest(
            name=TDA_PROFILE,
            version="1.0.0",
            description="How the density |A|² of a run hangs together: its parts, loops and cavities, level by level",
            builtin="tda_profile",
            inputs=[_OF],
            outputs=[
                Port("code", "string", "ok, or why there is nothing to count: diverged, flat or not_finite"),
                Port("low", "float", "The least density"),
                Port("high", "float", "The greatest density"),
                Port("parts", "int", "Parts of the places below a level that last longer than the threshold"),
                Port("loops", "int", "Loops that do; null in three dimensions unless they are paired"),
                Port("cavities", "int", "Cavities that do, in three dimensions"),
                Port("longest_part", "float", "How long the longest part lasts that joins another, of the range of the density"),
                Port("longest_loop", "float", "How long the longest loop lasts that is filled"),
                Port("longest_cavity", "float", "How long the longest cavity lasts that is filled"),
                Port("entropy", "float", "Of the lengths of the parts that join another: 0 if one is all, ln n for n alike"),
                Port("betti_0", "string", "How many parts there are, at 64 levels from the least density to the greatest"),
                Port("betti_1", "string", "How many loops"),
                Port("betti_2", "string", "How many cavities, in three dimensions"),
                Port("bars", "string", "The longest: degree, level at which it appears, level at which it is gone; - for never"),
            ],
            tunable_variables=[
                Variable("threshold", "What lasts no longer, of the range of the density, is not counted", "float", 0.05, 0, 1),
                Variable("superlevel", "Look at what is above a level, from the highest down: peaks are parts", "bool", False),
                Variable("pair_loops", "Pair the loops of three dimensions too (needs the extra topology)", "bool", False),
            ],
            trigger="job",
            limits=Limits(wall_s=600.0, cpu_s=600.0),
        ),
    )
}

for _manifest in BUILTIN.values():
    check(_manifest)

import json

import pytest

from studies import judging, solver_report, solvers
from studies.solver_cases import EVALUATIONS, SOLVERS, YARDSTICK, cases


def numbers(value, stderr):
    return {"value": value, "stderr": stderr}


def case(name, *, physics=0.0, fid=0.0, mmd=0.0, lit=0.0):
    solver, _, evaluations = name.partition("@")
    quality = {
        "physics": numbers(physics, 10.0),
        "fid/full": numbers(fid, 3.0),
        "mmd/unbiased": numbers(mmd, 1e-4),
        "lit_share": numbers(lit, 1e-3),
        "dark_rms": numbers(0.01, 1e-3),
    }
    rest = {"solver": solver, "evaluations": int(evaluations), "images": 100, "name": name}
    return rest | {"quality": quality}


def content(*others):
    provenance = {"time": "now", "git_commit": "abc"}
    return {"cases": [case(YARDSTICK, physics=30.0), *others], "provenance": provenance}


def test_every_solver_makes_the_evaluations_or_one_fewer_and_the_yardstick_is_there():
    from sgm_jax.config import check
    from sgm_jax.generators import score

    found = cases(list(SOLVERS), list(EVALUATIONS), images=20, images_above_100=5)
    assert YARDSTICK in [one.name for one in found]
    assert len({one.name for one in found}) == len(found)
    for one in found:
        config = solvers.read_config("configs/larcv_png64_cpu.py")
        config.update_from_flattened_dict(one.overrides)
        check(config)
        made = score.sampler(config, score.sde_from_config(config)).nfe
        assert made in (one.evaluations, one.evaluations - 1)
        assert one.images == (20 if one.evaluations <= 100 else 5)


@pytest.mark.parametrize(
    ("solvers_", "evaluations", "message"),
    [(["euler"], [10], "unknown solvers"), (["ddim-edm"], [1], "at least 2"), ([], [], "at least")],
)
def test_unknown_solvers_and_too_few_evaluations_are_refused(solvers_, evaluations, message):
    with pytest.raises(ValueError, match=message):
        cases(solvers_, evaluations, images=1, images_above_100=1)


def test_the_cheapest_equal_case_is_found_and_a_better_one_is_equal():
    found = content(
        case("heun-edm@5", physics=90.0),
        case("ddim-edm@10", physics=-20.0, fid=9.0),
        case("heun-edm@19", physics=55.0, fid=2.0),
        case("dpm_solver-edm@35"),
    )
    assert solver_report.cheapest(found)["name"] == "heun-edm@19"
    text = solver_report.render(json.loads(json.dumps(found)))
    assert "**heun-edm@19** has the fewest evaluations" in text
    assert "| heun-edm | 5 | 100 | 90 ± 10 | 0.0 ± 3.0 |" in text
    assert len(solver_report.draw(found).axes) == 4


def test_a_number_that_is_missing_makes_nothing_equal():
    other = case("heun-edm@19")
    del other["quality"]["fid/full"]
    assert not judging.is_equal(other["quality"], case(YARDSTICK)["quality"])


def test_quality_sums_the_chi2_of_all_images_above_their_floors_per_1000():
    rows = [
        {"metric": f"physics/{kind}/chi2_two_sample", "value": v, "stderr": e, "floor": f}
        for kind, v, e, f in [
            ("all/holes", 20.0, 3.0, 12.0),
            ("all/peak", 30.0, 4.0, 40.0),
            ("tracks/peak", 999.0, 4.0, 0.0),
        ]
    ]
    rows.append({"metric": "fid/full", "value": 9.0, "stderr": 1.0, "floor": 4.0})
    rows = [row | {"status": "ok"} for row in rows]
    rows.append({"metric": "mmd/unbiased", "status": "failed"})
    found = judging.quality(rows, 500)
    assert found == {"physics": numbers(-4.0, 10.0), "fid/full": numbers(5.0, 1.0)}

"""Settings of the liquid-argon simulation, their defaults and their checks."""

import ml_collections

PER_IMAGE, ABSOLUTE = "per_image", "absolute"
SCALINGS = (PER_IMAGE, ABSOLUTE)
NO_RECOMBINATION, BIRKS, MODIFIED_BOX = "none", "birks", "modified_box"
RECOMBINATIONS = (NO_RECOMBINATION, BIRKS, MODIFIED_BOX)
CHARGE_CENTROID, RANDOM_LIT_PIXEL, START = "charge_centroid", "random_lit_pixel", "start"
CROPS = (CHARGE_CENTROID, RANDOM_LIT_PIXEL, START)
KIND_NAMES = ("electron", "photon", "muon", "pion", "proton")
_POSITIVE = (
    "events_per_chunk",
    "image_size",
    "view_size",
    "pixel_mm",
    "volume_pixels",
    "production_cut_mm",
    "cell_mm",
    "drift_speed_mm_per_us",
    "counts_per_mev",
    "field_kv_per_cm",
)
_NOT_NEGATIVE = (
    "num_train",
    "num_test",
    "diffusion_scale",
    "longitudinal_diffusion_cm2_per_s",
    "transverse_diffusion_cm2_per_s",
    "threshold_mev",
    "delta_min_mev",
    "electron_lifetime_ms",
    "noise_mev",
)
_CHOICES = {"scaling": SCALINGS, "recombination": RECOMBINATIONS, "crop": CROPS}


def simulated_units(config: ml_collections.ConfigDict) -> dict[str, float]:
    """Return ``pixel_mm``, and ``mev_per_level`` of images with one scale, as simulated."""
    known = {"pixel_mm": config.pixel_mm}
    if config.scaling == ABSOLUTE:
        known["mev_per_level"] = 1.0 / config.counts_per_mev
    return known


def default_simulation_config() -> ml_collections.ConfigDict:
    """Return the settings of the data set: single particles, charge-centred 64 x 64 crops."""
    config = ml_collections.ConfigDict()
    config.num_train = 50_000  # images, not events
    config.num_test = 10_000
    config.num_workers = -1  # processes; -1: one for each core. Never changes the images
    config.events_per_chunk = 100  # events that share a random stream. Changes the images

    # Uniform between these bounds, MeV/c. The largest of electron and photon is fitted, with the
    # threshold below, to the figures of the paper: docs/calibration.
    config.momentum_mev = ml_collections.ConfigDict()
    config.momentum_mev.electron = (35.0, 700.0)
    config.momentum_mev.photon = (35.0, 700.0)
    config.momentum_mev.muon = (90.0, 1000.0)
    config.momentum_mev.pion = (100.0, 1000.0)
    config.momentum_mev.proton = (300.0, 1400.0)

    config.particles_per_event = (1, 1)  # uniform between these, from one vertex

    config.image_size = 64  # pixels on a side of the crop
    config.view_size = 256  # pixels on a side of the view the crop is cut from
    config.pixel_mm = 3.0
    config.volume_pixels = 768  # side of the argon cube; vertices lie uniformly inside
    config.production_cut_mm = 0.04  # Geant4 range cut: smaller electrons are not tracked
    config.cell_mm = 1.0  # energy deposits are cut and merged to pieces of about this size

    config.recombination = NO_RECOMBINATION  # or BIRKS (ICARUS), MODIFIED_BOX (ArgoNeuT)
    config.field_kv_per_cm = 0.5  # drift field; only recombination depends on it
    config.electron_lifetime_ms = 0.0  # charge falls as exp(-drift time / lifetime); 0: no loss
    config.drift_speed_mm_per_us = 1.6
    config.longitudinal_diffusion_cm2_per_s = 6.6
    config.transverse_diffusion_cm2_per_s = 13.0
    config.diffusion_scale = 1.0  # factor on both diffusion constants; 0 switches diffusion off

    config.noise_mev = 0.0  # rms of the Gaussian noise of a pixel, before the threshold
    config.threshold_mev = 0.03  # pixels at or below it are empty
    config.scaling = PER_IMAGE  # brightest pixel of the view = 255; or ABSOLUTE
    config.counts_per_mev = 20.0  # ABSOLUTE only: 8-bit counts for one MeV, clipped at 255
    # Or RANDOM_LIT_PIXEL: anywhere around a lit pixel of the view; or START: around the vertex,
    # which then lies at least half a crop from every side of the argon.
    config.crop = CHARGE_CENTROID
    config.min_lit_fraction = 0.01  # of the crop's pixels, after quantisation
    config.delta_min_mev = 3.0  # knock-on electrons from this energy up are delta rays
    config.write_mev = False  # also write the images in MeV, as image_mev in labels.h5
    return config


def check(config: ml_collections.ConfigDict) -> None:
    """Refuse settings that cannot work.

    Raises:
        ValueError: names the setting, its value, the bound it breaks and the fix.
    """
    if config.num_workers < 1 and config.num_workers != -1:
        raise ValueError(
            f"--config.simulation.num_workers = {config.num_workers} must be >= 1, or -1 for one "
            "a core"
        )
    for name in _POSITIVE:
        if not config[name] > 0:
            raise ValueError(f"--config.simulation.{name} = {config[name]} must be > 0")
    for name in _NOT_NEGATIVE:
        if not config[name] >= 0:
            raise ValueError(f"--config.simulation.{name} = {config[name]} must be >= 0")
    if config.num_train + config.num_test == 0:
        raise ValueError("--config.simulation.num_train = num_test = 0: ask for at least one image")
    for name, choices in _CHOICES.items():
        if config[name] not in choices:
            raise ValueError(
                f"--config.simulation.{name} = {config[name]!r} must be one of {choices}"
            )
    if not 0.0 < config.min_lit_fraction <= 1.0:
        raise ValueError(
            f"--config.simulation.min_lit_fraction = {config.min_lit_fraction} not in (0, 1]"
        )
    _check_sizes(config)
    _check_particles(config)


def _check_particles(config: ml_collections.ConfigDict) -> None:
    """Refuse bounds of momenta and numbers that are no bounds."""
    number = config.particles_per_event
    if len(number) != 2 or any(n != int(n) for n in number) or not 1 <= number[0] <= number[1]:
        raise ValueError(
            f"--config.simulation.particles_per_event = {number}: give two rising whole numbers "
            ">= 1"
        )
    for name in KIND_NAMES:
        bounds = config.momentum_mev[name]
        if len(bounds) != 2 or not 0.0 < bounds[0] <= bounds[1]:
            raise ValueError(
                f"--config.simulation.momentum_mev.{name} = {bounds} MeV/c: give two rising "
                "numbers > 0"
            )


def _check_sizes(config: ml_collections.ConfigDict) -> None:
    """Refuse pixel counts that do not nest: crop inside view inside argon."""
    image, view, volume = config.image_size, config.view_size, config.volume_pixels
    if image % 2 or view % 2:
        raise ValueError(
            f"--config.simulation.image_size = {image}, view_size = {view}: both must be even, "
            "for the crop reaches half its size to either side of the charge centre"
        )
    if not image < view <= volume:
        raise ValueError(
            f"--config.simulation.image_size = {image} < view_size = {view} <= volume_pixels = "
            f"{volume} does not hold; enlarge the right-hand ones: a view of four times the crop "
            "leaves most charge centres room for it, and momenta or volume_pixels may have to grow "
            "along"
        )

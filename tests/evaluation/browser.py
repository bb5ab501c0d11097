"""A headless Chromium for tests of pages; tests that need it skip where there is none."""

import contextlib
import shutil

import pytest

_FLAGS = ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run")
_FLAGS += ("disable-background-networking", "disable-component-update", "disable-sync")
PHONE = {"width": 390, "height": 844, "pixelRatio": 3.0, "touch": True}


def programs():
    """Return where Chromium and ChromeDriver are, or skip the test."""
    pytest.importorskip("selenium", reason="selenium is not installed (extra 'dev')")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no Chromium with ChromeDriver: apt-get install chromium chromium-driver")
    return chromium, driver


@contextlib.contextmanager
def browser(folder, *, phone=False):
    """Open a browser of its own profile that saves files to ``folder/downloads``."""
    chromium, driver = programs()
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    profile, downloads = folder / "profile", folder / "downloads"
    for flag in (*_FLAGS, "window-size=1000,900", f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if phone:
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": PHONE})
    page = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield page
    finally:
        page.quit()

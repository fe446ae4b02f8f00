"""The settings page in Debian's Chromium, against the real daemon in a booted Debian 13.

A test takes `page`, a Playwright page that shows the settings page, once by `byway ui` and once in
Cockpit, and `container`, to look at what has become of the machine:

    def test_a_name(page: View, container: Container) -> None:
        page.frame.get_by_role("tab", name="Routes").click()
        expect(page.frame.get_by_text("Clear routes")).to_be_visible()
        assert "full_tunnel" in container.run("byway", "mode").stdout

`page.frame` is what shows the settings page (in Cockpit a frame of it), `page.page` the whole tab.
Both ways alice may change things; for others, and for limited access in Cockpit, see `ways` in
conftest.py. The machine is one for the session and each test finds byway as START has it. After a
test nothing may have been asked of another server, and the console has no errors but those that
the test has named in `page.expected`.

`BYWAY_SHOTS=FOLDER` keeps a picture of each test's end, `-k loopback` or `-k cockpit` runs one way.
"""

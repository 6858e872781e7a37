"""An engine in a process of its own: a crash, a hang or a hungry graph there is an error here."""

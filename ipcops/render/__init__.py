"""From a template and its settings to a text: what can be set, how values are quoted, which templates there are."""

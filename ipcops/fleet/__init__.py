"""What many hosts said, made one: merged into a document, summed up, laid out as a page. Pure: nothing is read here."""

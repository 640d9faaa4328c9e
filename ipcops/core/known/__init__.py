"""What is known of programs: data only, each entry with its reason and its source.

These are Python modules and not data files because the core also travels to hosts as an
Ansible module and as a single file, and both carry just what is imported.
"""

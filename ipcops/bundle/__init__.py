"""What a host without Ansible and without packages needs, put together: the agent as one file, and the bundle."""

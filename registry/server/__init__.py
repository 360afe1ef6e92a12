"""What the nodes talk to: a pull-only registry over HTTP that can't reach out and never opens the writer's database."""

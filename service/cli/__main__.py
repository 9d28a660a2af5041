"""`python -m recollect.service.cli`: the console command without its script."""

from recollect.service.cli.main import main

main()

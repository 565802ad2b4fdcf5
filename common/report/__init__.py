"""The static HTML report: `python -m common.report` collects records and evaluations, report.js draws them."""

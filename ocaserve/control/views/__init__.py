"""What describes an appliance to people: the dashboard, the report and the API share it."""

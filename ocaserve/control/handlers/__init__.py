"""What the routes do, a module for each area: a short function for each route."""

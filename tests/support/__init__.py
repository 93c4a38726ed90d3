"""What the tests are made with: clients, stores and tools that are real where they can be."""

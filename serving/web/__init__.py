"""The pages that a customer success manager opens every morning, on the same core as the API."""

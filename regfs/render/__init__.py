"""What people and machines read: tables, JSON, JUnit and metrics, a module for each report."""

"""What happens around a render of the template: versioned with it, never copied into a rendered repository."""

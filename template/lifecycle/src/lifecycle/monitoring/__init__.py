"""Whether what is deployed still holds: live inputs, answers and labels against what training saw."""

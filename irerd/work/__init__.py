"""The numeric jobs themselves, imported only inside a worker and by the job that needs them: never by the daemon."""

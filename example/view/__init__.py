"""What an operator looks at: the queue and the programs as commands, metrics and a page.

Imports runtime/ and supervision/, which know nothing of it; app, beat and worker never import it.
"""

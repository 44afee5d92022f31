"""The editor in the browser: a person plays the agent's game, with the agent as a partner.

A commit of an edit is a step of :class:`exposure_gym.envs.PhotoRetouchEnv`; what a person did can be replayed as a
trajectory of it. The server is a Starlette application (:func:`exposure_gym.ui.server.make_app`), the page plain HTML
and JavaScript in ``static/``; nothing comes from a network.
"""

"""The sandbox's web pages: what Customer.io got, to look at in a browser.

Made on the server from Jinja templates that escape every value; there is no script on any page.
"""

"""What the links of a page lead to, and what other links may lead to on it."""

from html.parser import HTMLParser


class Anchors(HTMLParser):
    """The ids of a page and the addresses of its links."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids.add(given.get("id"))
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])

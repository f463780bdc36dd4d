"""What the `lun URL` lines of a started target say."""
from urllib.parse import urlparse


class LunUrls:
    """Parts of self.urls, the URLs of its logical units in their order."""

    @property
    def url(self):
        return self.urls[0]

    @property
    def host(self):
        return urlparse(self.url).hostname

    @property
    def port(self):
        return urlparse(self.url).port

    @property
    def iqn(self):
        return self.url.split("/")[3]

    @property
    def portal_url(self):
        return "/".join(self.url.split("/")[:3])

    def lun(self, index=0):
        """The logical unit number behind urls[index]."""
        return int(self.urls[index].rsplit("/", 1)[1])

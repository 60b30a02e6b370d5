"""The look and manners of staff's pages, shared by every app's admin."""

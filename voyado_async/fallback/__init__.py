"""The second road: what could not be delivered over the API leaves as Engage XML over SFTP (DESIGN 3, "Fallback").

In come exhausted entries, out go files in Engage's import folders, and what is known of them afterwards. It never calls
Engage's API itself: bulk requests go through a `BulkCarrier`, and that an imported entry arrived is confirmed by the
drainer. In the order of the way:

names.py       the one table of element names and of how sure each is
batch.py       file forms -> files: who goes with whom (pure)
record.py      one record -> a line of XML
xml.py         a file's records -> XML, streamed, and back through a check (XSD files beside it)
renaming.py    a tenant's own names in the place of ours
tenant.py      names, XSLT and vendor's XSD of one tenant
overtaking.py  what of a change may still leave: not what newer ones have set
writing.py     a file from the ids of its entries to where it is complete in the spool folder
spool.py       temporary name, fsync, check, rename
sftp.py        verified host key, upload, rename, list
plans.py       what is due, what became of what (pure)
transfer.py    uploads what is spooled, watches what is uploaded
bulk.py        contact writes in bulk requests, when the API is back
export.py      the files of chosen entries, for a person; moves nothing
courier.py     exhausted -> spooled -> uploaded -> imported, or back to the API
report.py      what one step of it came to                    thread.py  blocking work off the loop
walk.py        its steps beside the drainer's rounds, with what changed told as events
"""

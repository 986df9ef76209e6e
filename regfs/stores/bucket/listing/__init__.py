"""What a bucket holds, from a listing of ours or from a report of it."""

"""What the clerk can look up. Workers of a fleet find it by its name: CREWQ_IMPORTS=yaml_project."""

from crewq import tool

ORDERS = {1042: "Two kayaks. Left the store on Monday. Expected on Thursday."}


@tool
def order_record(order: int) -> str:
    """What is known of an order, by its number."""
    return ORDERS.get(order, "There is no such order.")

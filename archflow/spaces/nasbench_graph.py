"""placeholder"""
class NASBenchGraph:
    pass
    proteins=None
